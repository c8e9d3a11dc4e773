"""The pages, a module a subject: each function takes a `Visit` and answers with a template's values, or a way to go."""
