"""Decodes, resizes and draws image files in processes that can be stopped.

pool -> worker process -> task
  |          |              the work on one file, a pure function: images, letterbox, rendering
  |          limits of memory and CPU time; pixels go into shared memory
  one thread for each image waits for its worker; it stops a worker that takes too long

The workers are forked by a small server process, which has loaded Pillow and nothing else.
"""
