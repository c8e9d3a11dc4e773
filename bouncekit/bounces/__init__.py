"""Mail that comes back, read: reports, complaints, notices in plain text; and who can have sent it."""
