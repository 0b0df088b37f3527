BeforeAll {
    . $PSScriptRoot/Common.ps1
    Start-TestHome -Connect
}
AfterAll { Stop-TestHome }

Describe 'New-WandbRunQueue' {
    AfterEach { Get-WandbRunQueue | Where-Object Name -NE default | Remove-WandbRunQueue -Confirm:$false }

    It 'makes queues, once' {
        ('one', 'two' | New-WandbRunQueue).Name | Should -Be one, two
        $fault = Get-Fault { New-WandbRunQueue one }
        $fault.Id, $fault.Category | Should -Be QueueExists, ResourceExists
        (Get-WandbRunQueue).Name | Should -Contain two
    }

    It 'takes settings' {
        $queue = New-WandbRunQueue -Name small -Access Team -PrioritizationMode V0 -Resource local-container -ResourceArgs @{ memory = '{{memory}}' } `
            -TemplateVariable @{ memory = @{ type = 'string'; default = '4g' } } -Entity local -QueueProject model-registry -Connection $Connection
        $queue.PrioritizationMode | Should -Be V0
        (Get-WandbRunQueue small).Resource | Should -Be local-container
        # The defaults go into what is queued.
        (Add-WandbLaunchQueueItem https://github.com/me/train -Queue small).Id | Should -Not -BeNullOrEmpty
    }

    It 'copies a queue whole, also one that was kept in a file, but for what is given' {
        $null = New-WandbRunQueue first -Access Private -PrioritizationMode V0 -Resource local-container -ResourceArgs @{ memory = '{{memory}}'; volume = @('/a:/b', '/c:/d') } `
            -TemplateVariable @{ memory = @{ type = 'string'; enum = '4g', '8g'; default = '4g' } }
        $file = Join-Path $PWD queue.xml
        Get-WandbRunQueue first | Export-Clixml $file -Depth 6
        $null = Get-WandbRunQueue first | New-WandbRunQueue second
        $null = Import-Clixml $file | New-WandbRunQueue third
        $null = Get-WandbRunQueue first | ConvertTo-Json -Depth 6 | ConvertFrom-Json | New-WandbRunQueue fourth
        $null = Get-WandbRunQueue first | New-WandbRunQueue fifth -Access Team -ResourceArgs @{ memory = '2g' }
        foreach ($name in 'second', 'third', 'fourth') {
            $copy, $first = Get-WandbRunQueue $name, first
            foreach ($property in 'Access', 'PrioritizationMode', 'Resource') { $copy.$property | Should -Be $first.$property }
            $copy.ResourceArgs | ConvertTo-Json -Depth 6 -Compress | Should -Be ($first.ResourceArgs | ConvertTo-Json -Depth 6 -Compress)
            $copy.TemplateVariables | ConvertTo-Json -Depth 6 -Compress | Should -Be ($first.TemplateVariables | ConvertTo-Json -Depth 6 -Compress)
        }
        $fifth = Get-WandbRunQueue fifth
        $fifth.Access, $fifth.ResourceArgs['memory'], $fifth.ResourceArgs.Count, $fifth.TemplateVariables['memory']['schema']['default'] | Should -Be PROJECT, 2g, 1, 4g
        (Get-Fault { Get-WandbRunQueue first | New-WandbRunQueue }).Id | Should -Be QueueExists
    }

    It 'says with -WhatIf what would be refused' {
        $null = New-WandbRunQueue there
        (Get-Fault { New-WandbRunQueue there -WhatIf }).Id | Should -Be QueueExists
    }

    It 'makes nothing with -WhatIf and after a no' {
        New-WandbRunQueue one -WhatIf
        Invoke-Pwsh 'Connect-Wandb -Local | Out-Null; New-WandbRunQueue one -Confirm' -Answer n | Out-Null
        Get-WandbRunQueue one* | Should -BeNullOrEmpty
    }
}

Describe 'Get-WandbRunQueue' {
    AfterEach { Get-WandbRunQueue | Where-Object Name -NE default | Remove-WandbRunQueue -Confirm:$false }

    It 'finds queues by name, wildcard and from the pipeline' {
        $null = 'gpu-a', 'gpu-b', 'cpu' | New-WandbRunQueue
        (Get-WandbRunQueue gpu*).Name | Should -Be gpu-a, gpu-b
        ('cpu' | Get-WandbRunQueue -Entity local).Name | Should -Be cpu
        (Get-WandbRunQueue gpu-a | Get-WandbRunQueue).Name | Should -Be gpu-a
        Get-WandbRunQueue nothing* | Should -BeNullOrEmpty
    }

    It 'says what is not there and goes on' {
        $null = New-WandbRunQueue cpu
        $fault = Get-Fault { Get-WandbRunQueue nosuch }
        $fault.Id, $fault.Category, $fault.Target | Should -Be QueueNotFound, ObjectNotFound, nosuch
        (Get-WandbRunQueue nosuch, cpu -ErrorAction Ignore).Name | Should -Be cpu
    }

    It 'is shown at any width' {
        $null = New-WandbRunQueue gpu
        Get-WandbRunQueue | Get-View -Width 140 | Should -Match 'Name\s+Pending\s+Items\s+Paused\s+Access\s+Mode\s+Resource\s+Entity\s+QueueProject'
        Get-WandbRunQueue | Get-View -Width 50 | Should -Match 'Name\s+Pending'
        Get-WandbRunQueue gpu | Get-View -List | Should -Match 'Name\s+: gpu'
    }

    It 'completes names' {
        $null = 'gpu', 'spare' | New-WandbRunQueue
        Get-Completion 'Get-WandbRunQueue g' | Should -Be gpu
        Get-Completion 'Remove-WandbRunQueue -Name sp' | Should -Be spare
    }
}

Describe 'Set-WandbRunQueue' {
    AfterEach { Get-WandbRunQueue | Where-Object Name -NE default | Remove-WandbRunQueue -Confirm:$false }

    It 'changes what is given, also from the pipeline' {
        $null = New-WandbRunQueue gpu
        Set-WandbRunQueue gpu -Resource local-container -ResourceArgs @{ memory = '16g' } -TemplateVariable @{ } | Should -BeNullOrEmpty
        $queue = Get-WandbRunQueue gpu | Set-WandbRunQueue -Resource local-container -PrioritizationMode V0 -PassThru
        $queue.Name, $queue.Resource, $queue.PrioritizationMode | Should -Be gpu, local-container, V0
    }

    It 'changes nothing with -WhatIf, and says what is not there' {
        $null = New-WandbRunQueue gpu
        Set-WandbRunQueue gpu -Resource local-process -WhatIf
        (Get-WandbRunQueue gpu).Resource | Should -Not -Be local-process
        (Get-Fault { Set-WandbRunQueue nosuch -Resource local-process }).Id | Should -Be QueueNotFound
    }
}

Describe 'Suspend-WandbRunQueue and Resume-WandbRunQueue' {
    BeforeEach { $null = 'gpu-a', 'gpu-b', 'cpu' | New-WandbRunQueue }
    AfterEach { Get-WandbRunQueue | Where-Object Name -NE default | Remove-WandbRunQueue -Confirm:$false }

    It 'pause and resume by name, wildcard and from the pipeline' {
        (Get-WandbRunQueue cpu).Paused | Should -BeFalse
        Suspend-WandbRunQueue gpu* | Should -BeNullOrEmpty
        (Get-WandbRunQueue | Where-Object Paused).Name | Should -Be gpu-a, gpu-b
        $queue = Get-WandbRunQueue cpu | Suspend-WandbRunQueue -PassThru
        $queue.Name, $queue.Paused | Should -Be cpu, $true
        # Once more is no error.
        (Suspend-WandbRunQueue cpu -PassThru -Entity local -QueueProject model-registry -Connection $Connection).Paused | Should -BeTrue
        (Get-WandbRunQueue | Where-Object Paused | Resume-WandbRunQueue -PassThru).Paused | Should -Be $false, $false, $false
        'cpu' | Resume-WandbRunQueue | Should -BeNullOrEmpty
        Suspend-WandbRunQueue nothing* | Should -BeNullOrEmpty
    }

    It 'give agents nothing of a paused queue, and again what waits in it' {
        $uri = New-TestRepository paused
        Suspend-WandbRunQueue cpu
        $item = Add-WandbLaunchQueueItem $uri -Queue cpu -Resource local-process
        # One that ends when there is nothing for it.
        $null = Start-WandbLaunchAgent -Name paused -Queue cpu -AllowResource local-process -AllowGitHost file -NoInstall -StopWhenEmpty -Quiet
        "$((Get-WandbLaunchQueueItem cpu -Id $item.Id).State)" | Should -Be Pending
        Resume-WandbRunQueue cpu
        $null = Start-WandbLaunchAgent -Name paused -Queue cpu -AllowResource local-process -AllowGitHost file -NoInstall -StopWhenEmpty -Quiet
        "$((Get-WandbLaunchQueueItem cpu -Id $item.Id).State)" | Should -Be Finished
    }

    It 'change nothing with -WhatIf, and say what is not there and go on' {
        Suspend-WandbRunQueue gpu-a -WhatIf
        (Get-WandbRunQueue gpu-a).Paused | Should -BeFalse
        $fault = Get-Fault { Suspend-WandbRunQueue nosuch }
        $fault.Id, $fault.Category, $fault.Target | Should -Be QueueNotFound, ObjectNotFound, nosuch
        (Suspend-WandbRunQueue nosuch, gpu-b -PassThru -ErrorAction Ignore).Name | Should -Be gpu-b
        Resume-WandbRunQueue gpu-b -WhatIf
        (Get-WandbRunQueue gpu-b).Paused | Should -BeTrue
        (Get-Fault { Get-WandbConnection | Resume-WandbRunQueue }).Id | Should -Be InputNotSupported
    }

    It 'are shown and complete names' {
        Suspend-WandbRunQueue gpu-a
        Get-WandbRunQueue gpu-a | Get-View -Width 140 | Should -Match 'gpu-a\s+0\s+0\s+yes\s'
        Get-WandbRunQueue gpu-a | Get-View -List | Should -Match 'Paused\s+: True'
        Get-Completion 'Suspend-WandbRunQueue c' | Should -Be cpu
        Get-Completion 'Resume-WandbRunQueue -Name c' | Should -Be cpu
    }
}

Describe 'Remove-WandbRunQueue' {
    AfterEach { Get-WandbRunQueue | Where-Object Name -NE default | Remove-WandbRunQueue -Confirm:$false }

    It 'removes queues, but not with -WhatIf, after a no, or with nobody to ask' {
        $null = 'a1', 'a2', 'b' | New-WandbRunQueue
        Get-WandbRunQueue a* | Remove-WandbRunQueue -WhatIf
        Invoke-Pwsh 'Connect-Wandb -Local | Out-Null; Remove-WandbRunQueue a1' -Answer n | Out-Null
        Invoke-Pwsh 'Connect-Wandb -Local | Out-Null; try { Remove-WandbRunQueue a1 -ErrorAction Stop } catch { "refused" }' | Should -Contain refused
        (Get-WandbRunQueue a*).Count | Should -Be 2
        Get-WandbRunQueue a* | Remove-WandbRunQueue -Confirm:$false
        ('b' | Remove-WandbRunQueue -Confirm:$false -PassThru).Name | Should -Be b
        # Once, whatever means it; and the default queue is meant by its name alone.
        $null = 'c1', 'c2' | New-WandbRunQueue
        (Remove-WandbRunQueue c1, c*, * -Confirm:$false -PassThru -ErrorAction Stop).Name | Sort-Object | Should -Be c1, c2
        Get-WandbRunQueue a*, b* | Should -BeNullOrEmpty
    }

    It 'says what is not there' {
        $fault = Get-Fault { Remove-WandbRunQueue nosuch -Confirm:$false }
        $fault.Id, $fault.Target | Should -Be QueueNotFound, nosuch
    }
}

Describe 'a server that does not answer' {
    AfterEach { Get-WandbRunQueue | Where-Object Name -NE default | Remove-WandbRunQueue -Confirm:$false }

    It 'is left within a second' {
        $listener = [Net.Sockets.TcpListener]::new([Net.IPAddress]::Loopback, 0)
        $listener.Start()
        try {
            $env:WANDB_API_KEY = 'a' * 40
            (Measure-Stop "`$env:WANDB_BASE_URL = 'http://127.0.0.1:$($listener.LocalEndpoint.Port)'; Connect-Wandb `$env:WANDB_BASE_URL; Get-WandbRunQueue" { $listener.Pending() }).TotalSeconds | Should -BeLessThan 10
        } finally {
            $listener.Stop()
            $env:WANDB_API_KEY = $env:WANDB_BASE_URL = $null
            $null = Connect-Wandb -Local
        }
    }
}

Describe 'Watch-WandbRunQueue' {
    BeforeAll { $uri = New-TestRepository watched }
    BeforeEach { $null = 'gpu', 'cpu' | New-WandbRunQueue }
    AfterEach { Get-WandbRunQueue | Where-Object Name -NE default | Remove-WandbRunQueue -Confirm:$false }

    It 'counts once with a time of 0, and writes the queues' {
        $null = 1..3 | ForEach-Object { Add-WandbLaunchQueueItem $uri -Queue gpu }
        $queues = Watch-WandbRunQueue gpu, c* -Timeout 0 6>$null
        $queues.Name | Should -Be gpu, cpu
        $gpu = $queues | Where-Object Name -EQ gpu
        $gpu.Pending, $gpu.Running, $gpu.Failed, $gpu.Agents | Should -Be 3, 0, 0, 0
        ([DateTimeOffset]::UtcNow - $gpu.Oldest).TotalSeconds | Should -BeLessThan 60
        ($queues | Where-Object Name -EQ cpu).Oldest | Should -BeNullOrEmpty
        Get-WandbRunQueue gpu | Watch-WandbRunQueue -Timeout 0 -Entity local -Connection (Get-WandbConnection) 6>$null | Get-View -List | Should -Match 'Oldest\s+:'
    }

    It 'ends when the queues are empty, with a line for each change where nobody looks' {
        $null = 1..2 | ForEach-Object { Add-WandbLaunchQueueItem $uri -Queue gpu -Resource local-process -Argument $_ }
        $agent = Start-ThreadJob { param($module, $folder) Set-Location $folder; Import-Module $module; Start-WandbLaunchAgent -Name w -Queue gpu -AllowResource local-process -AllowGitHost file -NoInstall -MaxJobs 1 -StopWhenEmpty -Quiet } -ArgumentList $env:WANDBLAUNCH_MODULE, $PWD.Path
        try { $queues = Watch-WandbRunQueue gpu -Until Empty -Interval 0.2 -Timeout 120 -InformationVariable said 6>$null }
        finally { $null = $agent | Wait-Job | Remove-Job }
        $queues.Pending, $queues.Running | Should -Be 0, 0
        $said[0] | Should -Match '^\d\d:\d\d:\d\d gpu: 2 waiting, 0 running, 0 failed, \d agents\n$'
        "$said" | Should -Match '1 running, 0 failed, 1 agents'
        @($said | Select-Object -Unique).Count | Should -Be @($said).Count
    }

    It 'is an error when the time is over before, and says what is not there' {
        $null = Add-WandbLaunchQueueItem $uri -Queue gpu
        $fault = Get-Fault { Watch-WandbRunQueue gpu -Until Empty -Timeout 1 -Interval 0.5 6>$null }
        $fault.Id, $fault.Category | Should -Be WaitTimeout, OperationTimeout
        (Get-Fault { Watch-WandbRunQueue nosuch -Timeout 0 6>$null }).Id | Should -Be QueueNotFound
        (Get-Fault { Get-WandbConnection | Watch-WandbRunQueue -Timeout 0 }).Id | Should -Be InputNotSupported
    }

    It 'is left within a second' {
        (Measure-Stop '$null = Connect-Wandb -Local; Watch-WandbRunQueue').TotalSeconds | Should -BeLessThan 10
    }

    It 'completes names' { Get-Completion 'Watch-WandbRunQueue g' | Should -Be gpu }
}
