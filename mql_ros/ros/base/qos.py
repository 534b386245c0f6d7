"""Qualities of service of all topics: publishers are reliable, subscribers choose."""

from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

RELIABLE = QoSProfile(depth=200, reliability=ReliabilityPolicy.RELIABLE)
"""Deep enough that nothing is lost while a subscriber loads a policy."""
SENSOR = QoSProfile(depth=20, reliability=ReliabilityPolicy.BEST_EFFORT)
"""For subscribers to a driver's streams; it matches reliable and best-effort publishers."""
IMAGE = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
"""For subscribers to images: only the newest counts."""
LATCHED = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
"""Late subscribers receive the newest message."""
LATCHED_FEW = QoSProfile(depth=20, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
"""Late subscribers receive the last 20 messages; none is lost if several follow each other closely."""
KEPT = QoSProfile(depth=200, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
"""As deep as RELIABLE; a late subscriber receives the whole history without gaps."""
