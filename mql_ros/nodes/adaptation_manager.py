from __future__ import annotations
import sys
from std_msgs.msg import String
from mql_ros.nodes.common import LATCHED, GraspingNode, run_node
from mql_ros.nodes.policy_loading import Announcement

class M(GraspingNode):
    def __init__(self):
        super().__init__("adaptation_manager")
        from mql_ros.algorithm.policy_bundle import bundle_hash
        self.pub = self.create_publisher(String, "policy", LATCHED)
        b = self.setting("bundle")
        self.pub.publish(String(data=Announcement(b, 1, bundle_hash(b)).to_json()))
def main():
    return run_node("adaptation_manager", M)
if __name__ == "__main__":
    sys.exit(main())
