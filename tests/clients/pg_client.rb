# Ruby's pg with its defaults: simple protocol without parameters, unnamed statements with them.
require 'json'
require 'pg'

$stdout.sync = true
url, mode, argument = ARGV
connection = PG.connect(url)
begin
  if mode == 'delete'
    rows = connection.exec_params("DELETE FROM #{argument} WHERE n > $1 RETURNING n", [3]).ntuples
    puts "rows #{rows}"
  else
    connection.exec(argument)
    puts 'ok'
  end
rescue PG::Error => error
  puts "error #{error.result.error_field(PG::PG_DIAG_SQLSTATE)} #{error.message.lines.first}"
  puts "shown #{JSON.generate("#{error.class}: #{error.message}")}"
end
puts "after #{connection.exec('SELECT 1').getvalue(0, 0)}"
