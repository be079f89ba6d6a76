"""The real gateway, two processes of it, over thirty days of virtual time that a seed decides."""
