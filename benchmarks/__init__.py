"""The hub beside what one would pick instead, on the same machine in the same run: `make bench`."""
