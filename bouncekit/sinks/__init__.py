"""Where events go besides the application's own subscribers: `log` for people, `jsonlines` for machines."""
