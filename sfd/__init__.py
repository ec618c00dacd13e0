"""The console command, and the base class of errors for users."""
