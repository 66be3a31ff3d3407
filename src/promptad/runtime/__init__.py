"""What an application needs without torch: numpy alone."""
