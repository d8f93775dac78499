"""What every room uses: arrays of addresses, text, threads, progress, a cache on disk, files."""
