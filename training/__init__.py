"""From recorded history to a model file. May import torch, lightning, mlflow and sklearn; `squeeze` never imports it.

    lake ─► labels/ ────────────────► prepare ◄──── examples, folding: frames on disk, addressed by content
                                         │
              pretraining/ ◄─────────────┤ every series, strictly before the first label
              networks/   teachers ─► student ─► scores of every step
                                                     │
              calibration/                   head per block (splits, walk)
                                                     │
              baselines/ ──► evaluation/ ◄── probabilities ──► export ─► one .onnx file
              controls/ ────────┘   └──► tracking/: MLflow, compare, the champion's gate, the ledger of looks

`pipeline` joins them up for a task, `real` and `demo` from data to score, `proof/` on simulated markets. Labels say
what came true, examples join it to what could be known by then, nothing that is fitted sees a later block.
"""
