"""What a robot is told and sees: encoders of instructions and of camera frames, none of which needs a download."""
