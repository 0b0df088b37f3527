BeforeAll {
    . $PSScriptRoot/Common.ps1
    Start-TestHome -Connect
    $uri = New-TestRepository repo 'import sys; print(sys.argv[1:]); sys.exit(int(sys.argv[2]))'
    function Start-Agent { Start-WandbLaunchAgent -Queue work -AllowResource local-process -AllowGitHost file -NoInstall -StopWhenEmpty -Quiet | Out-Null }
}
AfterAll { Stop-TestHome }

Describe 'Add-WandbLaunchQueueItem' {
    BeforeEach { $null = 'work', 'other' | New-WandbRunQueue }
    AfterEach { 'work', 'other' | Remove-WandbRunQueue -Confirm:$false }

    It 'queues what a run, a csv, a grid and a config say' {
        $items = "code`n0`n3`n0" | ConvertFrom-Csv | Add-WandbLaunchQueueItem -Uri $uri -Queue work -Resource local-process
        $items.Count | Should -Be 3
        $grid = Add-WandbLaunchQueueItem $uri -EntryPoint 'python main.py' -Grid @{ lr = 0.1, 0.01; layers = 2, 4 } -Queue work
        ($grid | ForEach-Object { $_.Arguments -join ' ' } | Sort-Object -Unique).Count | Should -Be 4
        (New-WandbLaunchConfig $uri -Name mine | Add-WandbLaunchQueueItem -Queue work -QueueEntity local -QueueProject model-registry -Connection $Connection).Queue | Should -Be work
        (Add-WandbLaunchQueueItem -Config '{"uri": "https://github.com/me/train"}' -Queue work).Uri | Should -Be https://github.com/me/train
        (Get-WandbRunQueue work).Pending | Should -Be 9
    }

    It 'takes every override, a priority and template variables' {
        $null = New-WandbRunQueue small -PrioritizationMode V0 -Resource local-container -ResourceArgs @{ memory = '{{memory}}' } -TemplateVariable @{ memory = @{ type = 'string'; default = '4g' } }
        $item = Add-WandbLaunchQueueItem https://github.com/me/train -Queue small -Priority high -TemplateVariable @{ memory = '8g' } -Project p -Entity local -Name n -GitVersion dev -Argument @{ lr = 1 } -RunConfig @{ a = 1 } -PythonVersion 3.11
        $item.Id | Should -Not -BeNullOrEmpty
        (Get-WandbLaunchQueueItem small).Arguments -join ' ' | Should -Match 'lr.*1'
        Remove-WandbRunQueue small -Confirm:$false
    }

    It 'queues nothing with -WhatIf and after a no' {
        Add-WandbLaunchQueueItem $uri -Queue work -WhatIf
        Invoke-Pwsh "Connect-Wandb -Local | Out-Null; Add-WandbLaunchQueueItem $uri -Queue work -Confirm" -Answer n | Out-Null
        Get-WandbLaunchQueueItem work | Should -BeNullOrEmpty
    }

    It 'says what cannot be queued and goes on' {
        (Get-Fault { Add-WandbLaunchQueueItem $uri -Queue nosuch }).Id | Should -Be QueueNotFound
        (Get-Fault { Add-WandbLaunchQueueItem $uri -Queue nosuch -WhatIf }).Id | Should -Be QueueNotFound
        $fault = Get-Fault { Add-WandbLaunchQueueItem ./repo -Queue work }
        $fault.Id | Should -Be FolderCannotBeQueued
        $fault.Target | Should -Not -BeNullOrEmpty
        (Get-Fault { Add-WandbLaunchQueueItem -Queue work }).Id | Should -Be SourceMissing
    }

    It 'is what Start-WandbLaunch -Queue does' {
        (Start-WandbLaunch $uri -Queue work -Argument a=1).Queue | Should -Be work
        @(Get-WandbLaunchQueueItem work).Count | Should -Be 1
    }
}

Describe 'Get-WandbLaunchQueueItem' {
    BeforeEach { $null = 'work', 'other' | New-WandbRunQueue }
    AfterEach { 'work', 'other' | Remove-WandbRunQueue -Confirm:$false }

    It 'finds items by queue, id and state, and from the queue''s object' {
        $items = 1..2 | ForEach-Object { Add-WandbLaunchQueueItem $uri -Queue work -Argument "n=$_" }
        $null = Add-WandbLaunchQueueItem $uri -Queue other
        (Get-WandbLaunchQueueItem work -Id $items[1].Id).Id | Should -Be $items[1].Id
        @(Get-WandbLaunchQueueItem -Queue * -State pending -Entity local -QueueProject model-registry).Count | Should -Be 3
        @(Get-WandbRunQueue o* | Get-WandbLaunchQueueItem -State pending).Count | Should -Be 1
        @('work', 'other' | Get-WandbLaunchQueueItem).Count | Should -Be 3
        @(Get-WandbLaunchQueueItem work | Select-Object -First 1).Count | Should -Be 1
    }

    It 'takes an item for itself, an agent for its queues, and a run for neither' {
        $items = 1..3 | ForEach-Object { Add-WandbLaunchQueueItem $uri -Queue work -Argument "n=$_" }
        ($items[1] | Get-WandbLaunchQueueItem).Id | Should -Be $items[1].Id
        # What would go by Remove-, as it is typed.
        @(Invoke-Pwsh "`$null = Connect-Wandb -Local; Get-WandbLaunchQueueItem work -Id $($items[1].Id) | Get-WandbLaunchQueueItem | Remove-WandbLaunchQueueItem -WhatIf" | Where-Object { $_ -match 'What if' }).Count | Should -Be 1
        # A table with both columns names items too.
        ($items[0, 2] | Select-Object Queue, Id | ConvertTo-Csv | ConvertFrom-Csv | Get-WandbLaunchQueueItem).Id | Should -Be $items[0].Id, $items[2].Id
        ($items[0] | ConvertTo-Json | ConvertFrom-Json | Get-WandbLaunchQueueItem).Id | Should -Be $items[0].Id
        $agent = [pscustomobject]@{ PSTypeName = 'WandbLaunch.Wandb.WandbLaunchAgent'; Name = 'nosuch'; Queues = 'work', 'other' }
        @($agent | Get-WandbLaunchQueueItem).Count | Should -Be 3
        ($agent | Get-WandbRunQueue).Name | Should -Be work, other
        $run = [pscustomobject]@{ PSTypeName = 'WandbLaunch.Wandb.WandbRun'; Id = $items[0].Id; Name = 'work'; Queue = 'work' }
        foreach ($command in 'Get-WandbLaunchQueueItem', 'Remove-WandbLaunchQueueItem', 'Wait-WandbLaunchQueueItem', 'Remove-WandbRunQueue', 'Set-WandbRunQueue', 'New-WandbRunQueue') {
            $fault = Get-Fault { $run | & $command }
            "$command $($fault.Id) $($fault.Category)" | Should -Be "$command InputNotSupported InvalidArgument"
            $fault.Target | Should -Be $run
        }
        @(Get-WandbLaunchQueueItem work).Count | Should -Be 3
    }

    It 'says what is not there' {
        $fault = Get-Fault { Get-WandbLaunchQueueItem work -Id 999999 }
        $fault.Id, $fault.Category, $fault.Target | Should -Be ItemNotFound, ObjectNotFound, 999999
        (Get-Fault { Get-WandbLaunchQueueItem nosuch }).Id | Should -Be QueueNotFound
    }

    It 'is shown at any width, and completes' {
        $null = Add-WandbLaunchQueueItem $uri -Queue work -Argument lr=0.1
        Get-WandbLaunchQueueItem work | Get-View -Width 160 | Should -Match 'Id\s+Queue\s+State\s+Exit\s+Age\s+Reason\s+Arguments\s+Pos\s+Priority\s+Agent\s+RunId\s+Uri(.|\n)*lr=0.1'
        Get-WandbLaunchQueueItem work | Get-View -Width 60 | Should -Match 'Id\s+Queue\s+State'
        Get-WandbLaunchQueueItem work | Get-View -List | Should -Match 'Queue\s+: work'
        Get-Completion 'Get-WandbLaunchQueueItem wo' | Should -Be work
        Get-Completion 'Get-WandbLaunchQueueItem work -State pen' | Should -Be pending
    }
}

Describe 'Wait-WandbLaunchQueueItem' {
    BeforeEach { $null = 'work', 'other' | New-WandbRunQueue }
    AfterEach { 'work', 'other' | Remove-WandbRunQueue -Confirm:$false }

    It 'writes items when they are done, and failed ones as errors too' {
        $items = 0, 3 | ForEach-Object { Add-WandbLaunchQueueItem $uri -Queue work -Resource local-process -Argument "code=$_" }
        Start-Agent
        $done = $items | Wait-WandbLaunchQueueItem -ErrorAction SilentlyContinue -ErrorVariable fault
        $done.State | Should -Be finished, failed
        $fault[0].FullyQualifiedErrorId | Should -BeLike 'ItemFailed,*'
        (Wait-WandbLaunchQueueItem -Queue work -Id $items[0].Id -Started).State | Should -Be finished
        # What failed goes in again with its own config.
        $again = Get-WandbLaunchQueueItem work -State failed | Add-WandbLaunchQueueItem -Queue work
        $again.Arguments | Should -Be $items[1].Arguments
    }

    It 'gives up after -Timeout' {
        $item = Add-WandbLaunchQueueItem $uri -Queue work
        $fault = Get-Fault { $item | Wait-WandbLaunchQueueItem -Timeout 0 }
        $fault.Id, $fault.Category | Should -Be WaitTimeout, OperationTimeout
        # One deadline for all of them.
        $more = 1..3 | ForEach-Object { Add-WandbLaunchQueueItem $uri -Queue work -Argument "n=$_" }
        $clock = [Diagnostics.Stopwatch]::StartNew()
        @(Get-Fault { $more | Wait-WandbLaunchQueueItem -Timeout 5 }).Id | Should -Be WaitTimeout, WaitTimeout, WaitTimeout
        $clock.Elapsed.TotalSeconds | Should -BeLessThan 13
    }

    It 'is stopped within a second' {
        $item = Add-WandbLaunchQueueItem $uri -Queue work
        (Measure-Stop "`$null = Connect-Wandb -Local; Wait-WandbLaunchQueueItem work $($item.Id)").TotalSeconds | Should -BeLessThan 10
    }
}

Describe 'Remove-WandbLaunchQueueItem' {
    BeforeEach { $null = 'work', 'other' | New-WandbRunQueue }
    AfterEach { 'work', 'other' | Remove-WandbRunQueue -Confirm:$false }

    It 'removes what waits, but not with -WhatIf, after a no, or with nobody to ask' {
        $item = Add-WandbLaunchQueueItem $uri -Queue work
        Get-WandbLaunchQueueItem work | Remove-WandbLaunchQueueItem -WhatIf
        Invoke-Pwsh "Connect-Wandb -Local | Out-Null; Remove-WandbLaunchQueueItem work $($item.Id)" -Answer n | Out-Null
        Invoke-Pwsh "Connect-Wandb -Local | Out-Null; try { Remove-WandbLaunchQueueItem work $($item.Id) -ErrorAction Stop } catch { 'refused' }" | Should -Contain refused
        @(Get-WandbLaunchQueueItem work).Count | Should -Be 1
        Get-WandbLaunchQueueItem work -State pending | Remove-WandbLaunchQueueItem -Confirm:$false
        Get-WandbLaunchQueueItem work | Should -BeNullOrEmpty
    }

    It 'removes hundreds in one request, each for itself' {
        $items = 1..450 | ForEach-Object { [pscustomobject]@{ n = $_ } } | Add-WandbLaunchQueueItem -Uri $uri -Queue work
        $items[3] | Remove-WandbLaunchQueueItem -Confirm:$false
        $requests = @($items | Remove-WandbLaunchQueueItem -Confirm:$false -Debug -ErrorAction SilentlyContinue -ErrorVariable fault 5>&1 | Where-Object { "$_" -match 'POST .*/(queues/remove|graphql DeleteFromRunQueue).* 200' })
        $requests.Count | Should -Be 1
        $fault.TargetObject | Should -Be $items[3].Id
        Get-WandbLaunchQueueItem work | Should -BeNullOrEmpty
    }

    It 'removes nothing of another queue, whatever ids it is given' {
        $mine, $other = 'work', 'other' | ForEach-Object { Add-WandbLaunchQueueItem $uri -Queue $_ }
        (Get-Fault { Remove-WandbLaunchQueueItem work $mine.Id, $other.Id, 'x; DROP TABLE items' -Confirm:$false }).Target | Sort-Object | Should -Be $other.Id, 'x; DROP TABLE items'
        (Get-WandbLaunchQueueItem other).Id | Should -Be $other.Id
        Get-WandbLaunchQueueItem work | Should -BeNullOrEmpty
    }

    It 'gives what it removed with -PassThru, from the pipeline and by id' {
        $items = 1..3 | ForEach-Object { Add-WandbLaunchQueueItem $uri -Queue work }
        ($items[0, 1] | Remove-WandbLaunchQueueItem -PassThru -Confirm:$false).Id | Should -Be $items[0, 1].Id
        $last = Remove-WandbLaunchQueueItem work $items[2].Id -PassThru -Confirm:$false
        $last.Id, $last.State | Should -Be $items[2].Id, pending
        $items[0] | Remove-WandbLaunchQueueItem -PassThru -Confirm:$false -ErrorAction SilentlyContinue | Should -BeNullOrEmpty
    }

    It 'leaves what has started, and says what is not there' {
        $item = Add-WandbLaunchQueueItem $uri -Queue work -Resource local-process -Argument code=0
        Start-Agent
        $fault = Get-Fault { Remove-WandbLaunchQueueItem -Queue work -Id $item.Id -Confirm:$false }
        $fault.Id, $fault.Target | Should -Be ItemStarted, $item.Id
        (Get-Fault { Remove-WandbLaunchQueueItem work 999999 -Confirm:$false }).Id | Should -Be ItemNotFound
    }
}
