"""The Django project of these tests is real, and so are its mail server and its store."""
