"""Meta-training on the published locomotion benchmarks, with the algorithm code of grasping."""
