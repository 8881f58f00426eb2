#!/usr/bin/env bash
# Train a digit classifier, an autoencoder and one conditional INN per layer, then report what each layer keeps.
# Takes about four minutes on two CPU cores, and as long again for the first installation on a slow line.
set -euo pipefail
cd "$(dirname "$0")/.."

echo "Installing (PyTorch is large; this happens once) …"
. scripts/environment.sh ""

layers="conv1 conv2 conv3 penultimate logits"
edflow -b configs/digits/clf.yaml -t
edflow -b configs/digits/ae.yaml -t
edflow -b configs/digits/cinn.yaml -t --each $(printf 'configs/digits/layers/%s.yaml ' $layers) --jobs "$(nproc)"

invariances report $(printf 'latest:digits_cinn_%s ' $layers) -o logs/report
echo "Open $PWD/logs/report/report.html in a browser."
