"""What tests of several rooms share: small policies, fake graphs, a second driver."""
