"""The service on a Ray cluster, apart from what needs Ray itself: see `service.ray_serve`."""
