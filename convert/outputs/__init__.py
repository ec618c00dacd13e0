"""What a converted file takes in and gives out: `heads`, `detections` or `raw`."""
