"""The console command `sfd`, and the base class of its errors."""
