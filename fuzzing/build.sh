#!/bin/bash -eu
# Builds the targets as OSS-Fuzz expects them in $OUT: fuzz_TARGET, fuzz_TARGET_seed_corpus.zip and
# fuzz_TARGET.dict. compile_python_fuzzer and $OUT come with OSS-Fuzz's base image.
cd "$SRC/sfd"
HATCH_BUILD_NO_HOOKS=true pip3 install '.[service]'

corpora=$(mktemp -d)
python3 fuzzing/seeds.py "$corpora"
for path in fuzzing/fuzz_*.py; do
  target=$(basename "$path" .py)
  # The converter imports its layers by name, so PyInstaller must be told.
  compile_python_fuzzer "$path" --paths fuzzing --collect-submodules convert \
    --collect-submodules PIL
  (cd "$corpora/${target#fuzz_}" && zip -qr "$OUT/${target}_seed_corpus.zip" .)
  cp "fuzzing/dictionaries/${target#fuzz_}.dict" "$OUT/$target.dict"
done
