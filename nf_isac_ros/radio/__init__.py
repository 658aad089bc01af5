"""What stands between a beam message and the antenna: checks, leases, and driver backends."""
