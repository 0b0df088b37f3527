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

    It 'completes metrics and runs' {
        Get-Completion 'Show-WandbRunHistory ' | Should -Be loss
        Get-Completion 'Show-WandbRunHistory loss gr' | Should -Be grows
        Measure-Tab 'Show-WandbRunHistory ' | Should -BeLessThan 100
    }
}
