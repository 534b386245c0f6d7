"""How the arm moves: kinematics, splines, motions of the tool as motions of the joints."""
