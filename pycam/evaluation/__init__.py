"""Long runs over many pictures, which survive being stopped: plan, store, workers, cluster, report."""
