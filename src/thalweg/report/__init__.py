"""The report of an evaluation: one self-contained HTML file, and why episodes failed."""

from thalweg.report.diagnose import CAUSES, Diagnosis, diagnose
from thalweg.report.scene import SCENES, Scene, Track, scene_of
from thalweg.report.write import write_report

__all__ = [
    "CAUSES",
    "SCENES",
    "Diagnosis",
    "Scene",
    "Track",
    "diagnose",
    "scene_of",
    "write_report",
]
