"""fewbits hailo: Hailo devices: targets, model scripts, hand-over to the Dataflow Compiler."""
