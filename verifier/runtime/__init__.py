"""How is a payload brought to its runtime, and a program run? Processes, and sockets to addresses of site.yaml."""
