# Keeps more rows at each order on stdin.
$kept = []
def keep_rows
  60.times { $kept << ("row" * 350_000 + $kept.size.to_s); sleep 0.005 }
end
$stdout.sync = true
puts "ready"
while gets
  keep_rows
  puts $kept.size
end
