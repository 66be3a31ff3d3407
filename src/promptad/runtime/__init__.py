"""What an application needs at run time without torch: numpy and scipy only."""
