"""What joins bouncekit to other people's frameworks and engines; each module wants its own library."""
