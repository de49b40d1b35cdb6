"""From a trained model to anyone's own clips: its directory, what it reads in them, and how that looks."""
