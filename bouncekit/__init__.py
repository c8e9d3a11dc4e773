"""bouncekit: bounce handling for applications that send mail from Python."""
