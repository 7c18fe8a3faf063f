"""The report of an evaluation: one self-contained HTML file, and why episodes failed."""

from thalweg.report.diagnose import CAUSES, Diagnosis, diagnose
from thalweg.report.scene import SCENES, Scene, Track, scene_of
from thalweg.report.trace import Trace, load_trace
from thalweg.report.write import write_report

__all__ = [
    "CAUSES",
    "SCENES",
    "Diagnosis",
    "Scene",
    "Trace",
    "Track",
    "diagnose",
    "load_trace",
    "scene_of",
    "write_report",
]
