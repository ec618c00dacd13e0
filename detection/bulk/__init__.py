"""`sfd detect --bulk`: the faces of many pictures, as Parquet files. It can be stopped at any time.

    source -> plan -> shards -> reading -> Detector -> rows -> one Parquet file for each shard

The plan lists the pictures once. A shard is a fixed range of them, and its file is written whole or
not at all. So a job that starts again does the shards that have no file yet, and each picture is in
one file. `job` runs the shards in this process, `cluster` on Ray. Both call `worker`, which uses
the `Detector` of `sfd detect`.
"""
