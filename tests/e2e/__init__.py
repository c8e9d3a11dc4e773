"""Tests against real mail servers; `servers` starts them, `conftest` lends them out."""
