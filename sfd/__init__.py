"""The console command and the root of all explained errors."""
