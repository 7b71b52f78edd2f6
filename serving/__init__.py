"""Question -> authorise -> retrieve -> assemble -> generate -> check citations -> respond."""
