"""What every room needs: errors, where files are, how they are written."""
