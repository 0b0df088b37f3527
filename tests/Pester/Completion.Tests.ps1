# What Tab offers, where, and how fast. What belongs to one noun alone stands in the file of that noun.
BeforeAll {
    . $PSScriptRoot/Common.ps1
    Start-TestHome -Connect
    $null = Import-WandbRun (Copy-OfflineRun) -Entity local
    $folder = New-TestFolder
    Set-Content (Join-Path $folder 'two words.py') ''
    Set-Content (Join-Path $folder run.sh) ''
    $uri = New-TestRepository code
    $repository = ([uri] $uri).LocalPath
    git -C $repository tag v1.0
    git -C $repository branch feature/wide
    Set-Content (Join-Path $repository later.py) ''
    git -C $repository add .
    $env:GIT_COMMITTER_DATE = (Get-Date).AddMinutes(1).ToString('o')
    git -C $repository commit --quiet -m later
    $env:GIT_COMMITTER_DATE = $null
    $done = Start-WandbLaunch $folder -Resource local-process -Quiet
    Set-Content (Join-Path $folder sleep.py) 'import time; time.sleep(600)'
    $running = Start-WandbLaunch $folder -EntryPoint 'python sleep.py' -Resource local-process -NoWait
    $null = New-WandbRunQueue gpu -Resource local-container -ResourceArgs @{ memory = '{{memory}}' } -TemplateVariable @{ memory = @{ type = 'string'; enum = '4g', '8g' }; cpus = @{ type = 'integer'; minimum = 1; maximum = 8; default = 2 } }
    $null = New-WandbLaunchJob $folder -Project demo -Name box
    $old = Add-WandbLaunchQueueItem $uri -Queue gpu -TemplateVariable memory=4g
    $new = Add-WandbLaunchQueueItem $uri -Queue gpu -TemplateVariable memory=8g
    $null = Connect-Wandb -Local -Project demo
}
AfterAll { Stop-TestHome }

Describe 'completion of launches' {
    It 'offers what the command can act on' {
        Get-Completion 'Stop-WandbLaunch ' | Should -Be $running.Id
        Get-Completion 'Wait-WandbLaunch ' | Should -Be $running.Id
        Get-Completion 'Remove-WandbLaunch ' | Should -Be $done.Id
        Get-Completion 'Get-WandbLaunch ' | Should -Be $running.Id, $done.Id
        Get-Completion 'Receive-WandbLaunchLog ' | Should -Be $running.Id, $done.Id
    }

    It 'is answered from files at once' {
        Measure-Tab 'Stop-WandbLaunch ' | Should -BeLessThan 100
        Measure-Tab 'Get-WandbLaunchAgent ' | Should -BeLessThan 100
    }
}

Describe 'completion of queues and items' {
    It 'offers the items of the queue that is typed, newest first' {
        Get-Completion 'Get-WandbLaunchQueueItem gpu -Id ' | Should -Be $new.Id, $old.Id
        Get-Completion 'Wait-WandbLaunchQueueItem gpu ' | Should -Be $new.Id, $old.Id
        Get-Completion 'Remove-WandbLaunchQueueItem -Queue gpu -Id ' | Should -Be $new.Id, $old.Id
        Get-Completion 'Remove-WandbLaunchQueueItem default ' -Once | Should -BeNullOrEmpty
    }

    It 'offers a queue''s variables, and the values that it allows' {
        Get-Completion 'Add-WandbLaunchQueueItem x -Queue gpu -TemplateVariable ' | Sort-Object | Should -Be cpus=, memory=
        Get-Completion 'Add-WandbLaunchQueueItem x -Queue gpu -TemplateVariable memory=' | Should -Be memory=4g, memory=8g
        Get-Completion 'Add-WandbLaunchQueueItem x -Queue gpu -TemplateVariable memory=4g, cp' | Should -Be cpus=
        Get-Completion 'Add-WandbLaunchQueueItem x -Queue gpu -TemplateVariable cpus=' | Should -Be cpus=2, cpus=1, cpus=8
    }

    It 'offers a queue that was made a moment ago' {
        Get-Completion 'Get-WandbRunQueue ' | Should -Contain gpu
        $null = New-WandbRunQueue zeta
        Get-Completion 'Get-WandbRunQueue ze' | Should -Be zeta
    }

    It 'is answered from what was found before' {
        Measure-Tab 'Get-WandbRunQueue ' | Should -BeLessThan 100
        Measure-Tab 'Get-WandbLaunchQueueItem gpu -Id ' | Should -BeLessThan 100
        Measure-Tab 'Add-WandbLaunchQueueItem x -Queue gpu -TemplateVariable ' | Should -BeLessThan 100
    }
}

Describe 'completion of runs, files and jobs' {
    It 'offers the files of the run' {
        Get-Completion 'Get-WandbRunFile 22stxuh9 -Name di' | Should -Be diff.patch
        Get-Completion 'Get-WandbRunFile 22stxuh9 ' | Should -Contain requirements.txt
    }

    It 'offers orders' {
        # Quoted: PowerShell would take -created_at for a parameter.
        Get-Completion 'Get-WandbRun demo -Order ' | Should -Be "'-created_at'", '+created_at'
        (Get-WandbRun demo -Order '-created_at').Id | Should -Be 22stxuh9
    }

    It 'offers what the run was given' {
        $line = 'Start-WandbLaunch local/demo/runs/22stxuh9 '
        Get-Completion "$line-Argument l" | Should -Be lr=
        Get-Completion "$line-Argument lr=" | Should -Be lr=0.1
        Get-Completion "$line-Argument name=" | Should -Be "'name=two words'"
        Get-Completion "$line-RunConfig ep" | Should -Be epochs=
        Get-Completion "New-WandbLaunchConfig local/demo/runs/22stxuh9 -RunConfig epochs=" | Should -Be epochs=3
    }

    It 'offers the keys of the newest run where none is named' {
        Get-Completion 'Get-WandbRun | Start-WandbLaunch -Argument ep' | Should -Be epochs=
    }

    It 'offers jobs by their name' {
        Get-Completion 'Start-WandbLaunch -Job bo' | Should -Be local/demo/box:latest
        Get-Completion 'Add-WandbLaunchQueueItem -Job local/demo/b' | Should -Be local/demo/box:latest
        Get-Completion 'Get-WandbLaunchJob bo' | Should -Be box
    }

    It 'is answered from what was found before' {
        Measure-Tab 'Get-WandbRunFile 22stxuh9 -Name ' | Should -BeLessThan 100
        Measure-Tab 'Get-WandbRun -Order ' | Should -BeLessThan 100
        Measure-Tab 'Get-WandbRun -Id ' | Should -BeLessThan 100
        Measure-Tab 'Get-WandbRun -Project ' | Should -BeLessThan 100
        Measure-Tab 'Start-WandbLaunch local/demo/runs/22stxuh9 -Argument ' | Should -BeLessThan 100
        Measure-Tab 'Start-WandbLaunch local/demo/runs/22stxuh9 -RunConfig ' | Should -BeLessThan 100
        Measure-Tab 'Start-WandbLaunch -Job ' | Should -BeLessThan 100
    }
}

Describe 'completion of what is in the code' {
    It 'offers branches and tags, newest first' {
        Get-Completion "Start-WandbLaunch $uri -GitVersion " | Should -Be main, feature/wide, v1.0
        Get-Completion "New-WandbLaunchConfig x -GitRepo $uri -GitVersion v" | Should -Be v1.0
        Get-Completion "New-WandbLaunchJob $uri -GitVersion fe" | Should -Be feature/wide
        Get-Completion "Start-WandbLaunch local/demo/runs/22stxuh9 -GitRepo ./repo -GitVersion " | Should -Contain master
    }

    It 'offers programs with what runs them' {
        Get-Completion 'Start-WandbLaunch ./train -EntryPoint ' | Should -Be "'python main.py'", "'bash run.sh'", "'python sleep.py'", "'python `"two words.py`"'"
        Get-Completion 'Start-WandbLaunch ./train -EntryPoint ''python sl' | Should -Be "'python sleep.py'"
        Get-Completion 'New-WandbLaunchConfig ./train -EntryPoint sl' | Should -Be "'python sleep.py'"
        Get-Completion "New-WandbLaunchJob $uri -EntryPoint " | Should -Be "'python main.py'", "'python later.py'"
        Get-Completion "Start-WandbLaunch $uri -GitVersion v1.0 -EntryPoint " | Should -Be "'python main.py'"
        (Start-WandbLaunch ./train -EntryPoint 'python "two words.py"' -Resource local-process -Quiet).ExitCode | Should -Be 0
    }

    It 'is answered at once' {
        Measure-Tab "Start-WandbLaunch $uri -GitVersion " | Should -BeLessThan 100
        Measure-Tab 'Start-WandbLaunch ./train -EntryPoint ' | Should -BeLessThan 100
    }
}

Describe 'completion of connections' {
    It 'offers the servers that this machine knows' {
        Set-Content $env:NETRC "machine api.example.org login user password $('a' * 40)"
        $env:WANDB_BASE_URL = 'https://wandb.example.com/'
        try {
            $offered = Get-Completion 'Connect-Wandb '
            $offered | Should -Be https://api.wandb.ai, https://wandb.example.com, (Get-WandbConnection).BaseUrl, https://api.example.org
        } finally {
            $env:WANDB_BASE_URL = $null
            Remove-Item $env:NETRC
        }
    }

    It 'offers entities and projects' {
        Get-Completion 'Connect-Wandb -Local -Entity ' | Should -Contain local
        Get-Completion 'Connect-Wandb -Local -Project de' | Should -Be demo
    }

    It 'offers vaults and secrets where they are installed, without asking anybody' {
        $module = Join-Path $TestHome modules/Microsoft.PowerShell.SecretManagement/Microsoft.PowerShell.SecretManagement.psm1
        $null = New-Item $module -Force -Value @'
function Get-SecretVault { [pscustomobject]@{ Name = 'mine'; ModuleName = 'store' }, [pscustomobject]@{ Name = 'team'; ModuleName = 'store' } }
function Get-SecretInfo { param($Vault) [pscustomobject]@{ Name = "wandb-$Vault"; Type = 'String'; VaultName = $Vault } }
'@
        $path = $env:PSModulePath
        $env:PSModulePath = (Join-Path $TestHome modules) + [IO.Path]::PathSeparator + $path
        try {
            Get-Completion 'Connect-Wandb -SecretName x -Vault ' | Should -Be mine, team
            Get-Completion 'Connect-Wandb -Vault team -SecretName ' | Should -Be wandb-team
            Get-Completion 'Register-WandbLaunchAgent -Vault mine -SecretName ' | Should -Be wandb-mine
            Measure-Tab 'Connect-Wandb -SecretName x -Vault ' | Should -BeLessThan 100
        } finally { $env:PSModulePath = $path }
    }

    It 'is answered at once' {
        Measure-Tab 'Connect-Wandb ' | Should -BeLessThan 100
        Measure-Tab 'Connect-Wandb -Local -Project ' | Should -BeLessThan 100
        Measure-Tab 'Connect-Wandb -Local -Entity ' | Should -BeLessThan 100
    }
}

Describe 'completion of a server that is gone' {
    It 'offers nothing, and holds nobody' {
        try {
            $null = Get-Completion 'Get-WandbRunQueue '
            Stop-WandbLaunchServer
            (1..5 | ForEach-Object { (Measure-Command { Get-Completion 'Get-WandbLaunchJob none' -Once }).TotalMilliseconds } | Measure-Object -Minimum).Minimum | Should -BeLessThan 200
            # What was known stays.
            Get-Completion 'Get-WandbRunQueue ' -Once | Should -Contain gpu
        } finally {
            $null = Connect-Wandb -Local -Project demo
        }
    }

    It 'belongs to its connection' {
        $null = Start-WandbLaunchServer (Join-Path $TestHome other.db)
        $null = Connect-Wandb -Local -Path (Join-Path $TestHome other.db)
        try { Get-Completion 'Get-WandbRunQueue gp' -Once | Should -BeNullOrEmpty }
        finally { $null = Connect-Wandb -Local -Project demo }
    }
}
