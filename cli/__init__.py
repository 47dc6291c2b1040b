"""How every command starts, fails, shows progress, and writes a file whole or not at all."""
