"""What happens on each stage; every public function of every module here is a story."""
