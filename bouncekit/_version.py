"""The version of bouncekit, read by the build, and its day, before which no clock can be right."""

__version__ = "0.1.0"
__released__ = "2026-11-25"
