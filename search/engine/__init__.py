"""The adapter to Ray: the only package that imports it (a test holds this).

cluster.py      start Ray, say where the dashboard is
searcher.py     Optuna as a Tune searcher, with honest states
schedulers.py   who stops trials early
population.py   population-based training, a scheduler of our own
exploration.py  how a setting changes in the middle of a training
stop.py         why and when a search ends early
guard.py        an error of our own ends the search as what it is
interruption.py Ctrl-C and the signals that mean the same
trial.py        one trial: the shared trainer inside a Tune trainable
keeper.py       which checkpoints stay on the disk
watchdog.py     ends trials that hang, and the search if Ray died
observer.py     what Tune does, into the journal and onto the terminal
gauges.py       what Ray's dashboard and its metrics show
trackers.py     TensorBoard, MLflow, Weights & Biases
tuning.py       all of it put together: one Tuner, run to its end
"""
