#!/bin/sh
# Ask the service with curl: sh curl.sh photo.jpg
set -eu
photo=$1
url=${SFD_URL:-http://127.0.0.1:8000}

# The faces as JSON. With --fail-with-body curl prints the service's error and exits with 22.
curl --silent --show-error --fail-with-body --data-binary "@$photo" "$url/detect"
echo

# Parameters go into the query: sure faces only, the best three.
curl --silent --show-error --fail-with-body --data-binary "@$photo" "$url/detect?min_score=0.9&max_faces=3"
echo

# Several images in one request; the answer has one result for each. The inner quotes are for names
# with a comma or semicolon.
curl --silent --show-error --fail-with-body \
  -F "first=@\"$photo\"" -F "second=@\"$photo\"" "$url/detect"
echo

# The picture with its faces blurred, instead of JSON.
curl --silent --show-error --fail-with-body --data-binary "@$photo" -H 'Accept: image/jpeg' \
  --output blurred.jpg "$url/detect?render=blur"
