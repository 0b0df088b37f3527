BeforeAll {
    . $PSScriptRoot/Common.ps1
    Start-TestHome -Connect
    $null = Import-WandbRun (Copy-OfflineRun) -Entity local
    # Two more runs: one that grows, and a long one with values that are no numbers.
    $server = Get-WandbConnection
    function Add-TestRun {
        param([string] $Id, [string[]] $Rows, [string] $Summary)
        $key = Get-Content (Get-WandbLaunchServer).KeyPath
        $credential = [pscredential]::new('api', (ConvertTo-SecureString $key -AsPlainText))
        $call = @{ Method = 'Post'; Authentication = 'Basic'; AllowUnencryptedAuthentication = $true; Credential = $credential; ContentType = 'application/json' }
        $mutation = 'mutation U($name: String, $summary: JSONString) { upsertBucket(input: {name: $name, modelName: "demo", entityName: "local", summaryMetrics: $summary}) { bucket { id } } }'
        $null = Invoke-RestMethod "$($server.BaseUrl)/graphql" @call -Body (ConvertTo-Json @{ query = $mutation; variables = @{ name = $Id; summary = $Summary } })
        for ($from = 0; $from -lt $Rows.Count; $from += 5000) {
            $content = $Rows[$from..([Math]::Min($from + 5000, $Rows.Count) - 1)]
            $null = Invoke-RestMethod "$($server.BaseUrl)/files/local/demo/$Id/file_stream" @call -Body (ConvertTo-Json -Depth 5 @{ files = @{ 'wandb-history.jsonl' = @{ offset = $from; content = @($content) } } })
        }
    }
    function ConvertFrom-Sixel {
        # What a terminal makes of it: which colour each pixel has.
        param([string] $Text)
        $Text | Should -Match '^\x1BP0;1;0q"1;1;\d+;\d+(#\d;2;\d+;\d+;\d+)+[^\x1B]*\x1B\\$'
        $null = $Text -match '"1;1;(\d+);(\d+)'
        $picture = @{ Width = [int] $Matches[1]; Height = [int] $Matches[2]; Pixels = @{} }
        $body = $Text -replace '^.*?"1;1;\d+;\d+(#\d;2;\d+;\d+;\d+)+' -replace '\x1B\\$'
        $band = $column = $colour = 0
        foreach ($word in [regex]::Matches($body, '#(?<c>\d+)|!(?<n>\d+)(?<s>.)|(?<cr>\$)|(?<nl>-)|(?<s>[?-~])')) {
            if ($word.Groups['c'].Success) { $colour = [int] $word.Groups['c'].Value }
            elseif ($word.Groups['cr'].Success) { $column = 0 }
            elseif ($word.Groups['nl'].Success) { $band++; $column = 0 }
            else {
                $bits = [int][char] $word.Groups['s'].Value - 63
                foreach ($i in 1..($word.Groups['n'].Success ? [int] $word.Groups['n'].Value : 1)) {
                    foreach ($bit in 0..5) { if ($bits -band (1 -shl $bit)) { $picture.Pixels["$($band * 6 + $bit),$column"] = $colour } }
                    $column++
                }
            }
        }
        $picture
    }
    Add-TestRun grows (0..99 | ForEach-Object { "{`"_step`": $_, `"loss`": $($_ / 10.0), `"other`": 1}" }) '{"loss": 9.9}'
    Add-TestRun long (0..11999 | ForEach-Object { if ($_ % 1000) { "{`"_step`": $_, `"loss`": $(12000 - $_)}" } else { "{`"_step`": $_, `"loss`": `"NaN`"}" } }) '{"loss": 1}'
    $null = Connect-Wandb -Local -Project demo
}
AfterAll { Stop-TestHome }

Describe 'Show-WandbRunHistory' {
    It 'draws a metric over its steps' {
        $lines = Show-WandbRunHistory loss grows -Width 42 -Height 3
        $lines[0] | Should -BeLike 'grows*: loss 9.9 at step 99, min*'
        $lines[1..6] | Should -Be @(
            '       9.9 ┤                    ▁▂▂▃▄▅▆▆▇█'
            '           ┤          ▁▂▃▃▄▅▆▆▇███████████'
            '         0 ┤▁▂▃▃▄▅▆▇▇█████████████████████'
            '           └──────────────────────────────'
            "            0$(' ' * 27)99"
        )
        $lines | ForEach-Object { $_.Length | Should -BeLessOrEqual 42 }
    }

    It 'draws several runs on the same axes, from the pipeline' {
        $lines = Get-WandbRun demo | Where-Object Id -In grows, long | Show-WandbRunHistory loss -Width 60 -Height 2
        @($lines -match '^(grows|long)\b').Count | Should -Be 2
        @($lines -match '^ +119\d\d ┤').Count | Should -Be 2
        @($lines -match '^ +0 +11999$').Count | Should -Be 2
        # Beside twelve thousand, ten is nothing.
        $at = [Array]::FindIndex([string[]] $lines, [Predicate[string]] { $args[0] -like 'grows*' })
        $lines[$at + 1] | Should -Match '┤$'
    }

    It 'samples long runs, and leaves out what is no number' {
        (Show-WandbRunHistory loss -Id long -Width 100)[0] | Should -Match 'loss 1 at step 11999, min 1 at 11999, max 119\d\d at \d+$'
    }

    It 'takes the newest run where none is named, and launches and files' {
        (Show-WandbRunHistory loss -Entity local -Project demo -Connection (Get-WandbConnection))[0] | Should -Match '^long\b'
        (Get-WandbRun local/demo/runs/22stxuh9 | Show-WandbRunHistory loss)[0] | Should -Match '^22stxuh9\b.*loss 1\.458'
        (Get-WandbRunFile 22stxuh9 -Name diff.patch | Show-WandbRunHistory loss)[0] | Should -Match '^22stxuh9\b'
    }

    It 'says what was not logged, with what was, and goes on with the others' {
        $fault = Get-Fault { Show-WandbRunHistory nothing grows }
        $fault.Id, $fault.Category | Should -Be MetricNotFound, ObjectNotFound
        $fault.Message | Should -Match 'It has: loss'
        (Get-Fault { Show-WandbRunHistory loss nosuch }).Id | Should -Be RunNotFound
        (Show-WandbRunHistory loss nosuch, grows -ErrorAction SilentlyContinue)[0] | Should -Match '^grows\b'
        (Get-Fault { Get-WandbConnection | Show-WandbRunHistory loss }).Id | Should -Be InputNotSupported
    }

    It 'draws in pixels with -AsSixel' {
        $lines = Show-WandbRunHistory loss grows -Width 42 -Height 3 -AsSixel
        $lines.Count | Should -Be 4
        $lines[0] | Should -BeLike 'grows*: loss 9.9 at step 99, min*'
        $lines[1] | Should -Be '9.9'
        $lines[3] | Should -Be "0 | step 0$(' ' * 30)99"
        $picture = ConvertFrom-Sixel $lines[2]
        $picture.Width, $picture.Height | Should -Be 420, 60
        # A straight line from the lower left to the upper right, with an area below it and nothing above it, and a frame.
        foreach ($column in 10, 100, 210, 300, 410) {
            $row = [Math]::Round((1 - $column / 419) * 57)
            $top = 0..59 | Where-Object { $picture.Pixels["$_,$column"] } | Select-Object -First 1
            $top | Should -BeGreaterOrEqual ($row - 2)
            $top | Should -BeLessOrEqual ($row + 2)
            $picture.Pixels["$top,$column"] | Should -Be 3
            if ($row -lt 50) { $picture.Pixels["$($row + 5),$column"] | Should -Be 2 }
            $picture.Pixels["59,$column"] | Should -Be 1
        }
        0..59 | ForEach-Object { $picture.Pixels["$_,0"] } | Sort-Object -Unique | Should -Be 1
    }

    It 'asks a terminal whether it has pixels, and how large its characters are' -Skip:($IsWindows -or -not (Get-Command python3 -ErrorAction Ignore)) {
        $file = Join-Path $TestHome ask.ps1
        Set-Content $file "Import-Module '$env:WANDBLAUNCH_MODULE'; `$null = Connect-Wandb -Local -Project demo; Show-WandbRunHistory loss grows -Width 42 -Height 3 -AsSixel"
        $pwsh = @([Environment]::ProcessPath) + @(if ((Split-Path ([Environment]::ProcessPath) -LeafBase) -ne 'pwsh') { Join-Path $PSHOME pwsh.dll })
        # A terminal that answers: 4 is sixel, a character has 8 x 16 pixels. Then one that has none, and one that says nothing.
        Set-Content (Join-Path $TestHome terminal.py) @'
import os, pty, select, sys
answer = sys.argv[1].encode().decode("unicode_escape").encode()
child, terminal = pty.fork()
if child == 0:
    os.execvp(sys.argv[2], sys.argv[2:])
said = b""
while True:
    try:
        piece = os.read(terminal, 65536)
    except OSError:
        break
    if not piece:
        break
    said += piece
    if b"\x1b[c" in piece:
        os.write(terminal, answer)
os.waitpid(child, 0)
sys.stdout.buffer.write(said)
'@
        $run = { param($Answer) (python3 (Join-Path $TestHome terminal.py) $Answer @pwsh -NoProfile -File $file) -join "`n" }
        $pixels = & $run '\x1b[6;16;8t\x1b[?62;4;22c'
        $pixels | Should -Match '\x1BP0;1;0q"1;1;336;48'
        $blocks = & $run '\x1b[?1;2c'
        $blocks | Should -Match '┤'
        $blocks | Should -Not -Match '\x1BP'
        & $run '' | Should -Match '┤'
    }

    It 'completes metrics and runs' {
        Get-Completion 'Show-WandbRunHistory ' | Should -Be loss
        Get-Completion 'Show-WandbRunHistory loss gr' | Should -Be grows
        Measure-Tab 'Show-WandbRunHistory ' | Should -BeLessThan 100
    }
}
