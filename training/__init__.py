"""From recorded history to a model file. May import torch, lightning, mlflow and sklearn; `squeeze` never imports it.

    outcomes ──► labels ─────┐
                             ▼
    squeeze.state ──► examples ──► splits ──► data ──► network ──► task ──► head ──► evaluate ──► export ──► track
    folded over the   rows at      in time    whole    map and     proxies  ridge-   against      one        MLflow
    lake's history    known times  order,     se-      scalars,    first    logistic baselines    .onnx
                                   purged     quences  GRU                           and chance   file

Labels say what came true, examples join it to what could be known by then, nothing that is fitted sees a later block.
"""
