# What tables and lists show at the widths that people have. The objects are made here: their types decide, and no run is needed.
BeforeAll {
    . $PSScriptRoot/Common.ps1
    Start-TestHome
    # The first command of a session brings the views.
    $null = Get-WandbLaunch
    function New-Seen {
        param([string] $Type, [hashtable] $With)
        $object = [pscustomobject] $With
        $object.PSObject.TypeNames.Insert(0, $Type)
        $object
    }
    $reason = 'out of memory: the container was killed at its limit of 4 GiB'
    $launch = New-Seen WandbLaunch.Model.LaunchedRun @{ Id = 'abcd1234'; State = 'Failed'; ExitCode = 137; Duration = [timespan]::FromSeconds(3725); Reason = $reason; Arguments = '--lr', '0.1', '--layers', '4'; Resource = 'local-container'; Commit = 'f' * 40; Patched = $true; Source = 'https://github.com/me/train' }
    $item = New-Seen WandbLaunch.Wandb.WandbLaunchQueueItem @{ Id = '12345678'; Queue = 'gpu'; State = 'failed'; ExitCode = 137; Age = [timespan]::FromSeconds(3725); Error = $reason; Arguments = '--lr', '0.1'; Position = 3; Priority = 'Critical'; Agent = 'box'; RunId = 'abcd1234'; Uri = 'https://github.com/me/train' }
    $agent = New-Seen WandbLaunch.Wandb.WandbLaunchAgent @{ Name = 'nightly'; State = 'stopped'; ExitCode = 2; Queues = 'gpu', 'cpu'; Running = 0; Taken = 7; Succeeded = 5; Failed = 2; Heartbeat = [DateTimeOffset]::UtcNow.AddSeconds(-30); Hostname = 'box.example.org' }
    # The lines of a table: the head, and the first row.
    function Get-Row { param($Object, [int] $Width) ($Object | Get-View -Width $Width) -split "`n" | Where-Object { $_.Trim() -and $_ -notmatch '^[- ]+$' } }
}
AfterAll { Stop-TestHome }

Describe 'tables at <Width> columns' -ForEach @(
    @{ Width = 60; LaunchHead = 'Id\s+State\s+Exit\s+Duration\s+Reason'; ItemHead = 'Id\s+Queue\s+State\s+Exit\s+Age\s+Reason'; AgentHead = 'Name\s+State\s+Exit\s+Reason\s+Queues' }
    @{ Width = 80; LaunchHead = 'Id\s+State\s+Exit\s+Duration\s+Reason\s+Arguments'; ItemHead = 'Id\s+Queue\s+State\s+Exit\s+Age\s+Reason\s+Arguments'; AgentHead = 'Name\s+State\s+Exit\s+Reason\s+Queues\s+Running\s+Seen' }
    @{ Width = 120; LaunchHead = 'Id\s+State\s+Exit\s+Duration\s+Reason\s+Arguments\s+Resource\s+Commit\s+Source'; ItemHead = 'Id\s+Queue\s+State\s+Exit\s+Age\s+Reason\s+Arguments\s+Pos\s+Priority\s+Agent\s+RunId'; AgentHead = 'Name\s+State\s+Exit\s+Reason\s+Queues\s+Running\s+Seen\s+Taken\s+Ok\s+Failed\s+Host' }
    @{ Width = 160; LaunchHead = 'Id\s+State\s+Exit\s+Duration\s+Reason\s+Arguments\s+Resource\s+Commit\s+Source'; ItemHead = 'Id\s+Queue\s+State\s+Exit\s+Age\s+Reason\s+Arguments\s+Pos\s+Priority\s+Agent\s+RunId\s+Uri'; AgentHead = 'Name\s+State\s+Exit\s+Reason\s+Queues\s+Running\s+Seen\s+Taken\s+Ok\s+Failed\s+Host' }
) {
    It 'shows launches' {
        $head, $row = Get-Row $launch $Width
        $head | Should -Match "^$LaunchHead\s*`$"
        $row | Should -Match '^abcd1234 Failed +137 01:02:05'
        $row | Should -Match ' out of memory: the con…'
        if ($Width -ge 80) { $row | Should -Match ' --lr 0\.1 --layers 4' }
        if ($Width -ge 120) { $row | Should -Match 'local-container fffffff\+' }
        if ($Width -eq 160) { $row | Should -Match 'https://github.com/me/train$' }
        $head.Length, $row.Length | ForEach-Object { $_ | Should -BeLessOrEqual $Width }
    }

    It 'shows items' {
        $head, $row = Get-Row $item $Width
        $head | Should -Match "^$ItemHead\s*`$"
        $row | Should -Match '^12345678 gpu +failed +137 1h 2m'
        $row | Should -Match ' out of m\w+.*…'
        if ($Width -ge 80) { $row | Should -Match ' out of memory: the… --lr 0\.1' }
        if ($Width -ge 120) { $row | Should -Match ' +3 critical box +abcd1234' }
        $head.Length, $row.Length | ForEach-Object { $_ | Should -BeLessOrEqual $Width }
    }

    It 'shows agents' {
        $head, $row = Get-Row $agent $Width
        $head | Should -Match "^$AgentHead\s*`$"
        $row | Should -Match '^nightly +stopped +2 runs failed'
        if ($Width -ge 80) { $row | Should -Match 'gpu, cpu +0 +\d\ds' }
        if ($Width -ge 120) { $row | Should -Match '7 +5 +2 box' }
        $head.Length, $row.Length | ForEach-Object { $_ | Should -BeLessOrEqual $Width }
    }
}

Describe 'views' {
    It 'comes with the first command of a session, and not with the import' {
        $seen = Invoke-Pwsh @'
            @(Get-FormatData WandbLaunch.*).Count
            $null = Get-WandbLaunch
            @(Get-FormatData WandbLaunch.*).Count -gt 10
            (Get-Module).Name -contains 'WandbLaunch.Views'
            $pool = [runspacefactory]::CreateRunspace(); $pool.Open()
            $shell = [powershell]::Create($pool).AddScript('Import-Module $args[0]; $null = Get-WandbLaunch; @(Get-FormatData WandbLaunch.*).Count -gt 10').AddArgument($env:WANDBLAUNCH_MODULE)
            $shell.Invoke()
            $Error.Count
'@
        $seen | Should -Be 0, True, False, True, 0
    }

    It 'shows the first object of a session as a table' {
        $seen = Invoke-Pwsh '$VerbosePreference = "Continue"; Connect-Wandb -Local 4>&1 | Out-String' | Out-String
        $seen | Should -Match 'BaseUrl +Username +Entity'
        $seen | Should -Not -Match 'WandbLaunch.Views'
    }

    It 'has a table and a list for every type that commands write' {
        $types = Get-Command -Module WandbLaunch -CommandType Cmdlet | ForEach-Object { $_.OutputType.Name } | Where-Object { $_ -like 'WandbLaunch.*' } | Sort-Object -Unique
        $types.Count | Should -BeGreaterThan 10
        foreach ($type in $types) {
            $kinds = (Get-FormatData $type -PowerShellVersion $PSVersionTable.PSVersion).FormatViewDefinition.Control | ForEach-Object { $_.GetType().Name }
            $kinds | Should -Contain TableControl -Because $type
            $kinds | Should -Contain ListControl -Because $type
        }
    }

    It 'writes priorities as they are typed' {
        foreach ($priority in 'critical', 'high', 'medium', 'low') {
            $item.Priority = (Get-Culture).TextInfo.ToTitleCase($priority)
            $item | Get-View -Width 120 | Should -Match " $priority "
            $item | Get-View -List | Should -Match "Priority\s+: $priority"
        }
        $item.Priority = $null
        $item | Get-View -List | Should -Match 'Priority\s+: *\r?\n'
    }

    It 'writes what Windows ends crashed programs with as people know it' {
        $crashed = New-Seen WandbLaunch.Model.LaunchedRun @{ Id = 'abcd1234'; State = 'Failed'; ExitCode = -1073741819 }
        $crashed | Get-View -Width 80 | Should -Match 'C0000005'
    }

    It 'colours states where host and user take colours' {
        $old = $PSStyle.OutputRendering
        $noColor = $env:NO_COLOR
        $env:NO_COLOR = $null
        try {
            $PSStyle.OutputRendering = 'Ansi'
            $text = $launch | Format-Table | Out-String -Width 120
            if ($Host.UI.SupportsVirtualTerminal) { $text | Should -Match ([regex]::Escape("$($PSStyle.Foreground.Red)Failed")) }
            $env:NO_COLOR = 1
            $launch | Format-Table | Out-String -Width 120 | Should -Not -Match ([regex]::Escape("$($PSStyle.Foreground.Red)Failed"))
            $env:NO_COLOR = $null
            $PSStyle.OutputRendering = 'PlainText'
            $launch | Format-Table | Out-String -Width 120 | Should -Not -Match "`e"
        } finally {
            $PSStyle.OutputRendering = $old
            $env:NO_COLOR = $noColor
        }
    }

    It 'lists of a launch config what it says' {
        $list = New-WandbLaunchConfig https://github.com/me/train -Argument @{ lr = 0.1 } | Get-View -List
        $list | Should -Match 'uri\s+: https://github.com/me/train'
        $list | Should -Match 'overrides\s+: .*"lr":0.1'
        $list | Should -Not -Match 'docker'
    }
}
