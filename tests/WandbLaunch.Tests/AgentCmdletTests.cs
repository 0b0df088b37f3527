using System.Collections.Concurrent;
using System.Net;
using System.Text.Json;
using WandbLaunch.Agents;
using WandbLaunch.Wandb;
using static WandbLaunch.Tests.AgentTests;

namespace WandbLaunch.Tests;

/// <summary>Agents as a shell runs, sees and stops them.</summary>
[Collection(SessionCollection.Name)]
public sealed class AgentCmdletTests
{
    [Fact]
    public async Task The_cmdlets_run_show_and_stop_an_agent_call_hooks_and_post_to_a_webhook()
    {
        using var hook = new HttpListener();
        var port = FreePort();
        hook.Prefixes.Add($"http://127.0.0.1:{port}/");
        hook.Start();
        var posted = new ConcurrentQueue<string>();
        _ = Task.Run(async () =>
        {
            while (hook.IsListening)
            {
                var context = await hook.GetContextAsync();
                using (var reader = new StreamReader(context.Request.InputStream))
                {
                    posted.Enqueue(
                        JsonDocument.Parse(await reader.ReadToEndAsync()).RootElement.GetProperty("kind").GetString()!
                    );
                }

                context.Response.Close();
            }
        });
        using var shell = new Shell();
        shell.Ok("$null = New-WandbRunQueue agentq");
        shell.Ok(
            $"$null = 1..2 | ForEach-Object {{ Add-WandbLaunchQueueItem {Quick} -Queue agentq -Resource local-process -Argument n=$_ }}"
        );
        var output = shell.Ok(
            $"Start-WandbLaunchAgent -Queue agentq -Name cmdlet-agent -AllowResource local-process -AllowGitHost file -NoInstall -StopWhenEmpty -Webhook http://127.0.0.1:{port}/x -OnRunStarted {{ \"started $($_.ItemId)\" }} -OnRunFinished {{ param($e) \"finished $($e.ExitCode)\" }}"
        );
        Assert.Equal(
            ["started", "finished", "started", "finished"],
            output.Select(o => o.BaseObject).OfType<string>().Select(s => s.Split(' ')[0])
        );
        Assert.Equal(0, shell.Ok("$LASTEXITCODE")[0].BaseObject);
        Assert.Equal(
            [
                "AgentStarted",
                "Policy",
                "ItemTaken",
                "RunStarted",
                "RunFinished",
                "ItemTaken",
                "RunStarted",
                "RunFinished",
                "Draining",
                "AgentStopped",
            ],
            posted
        );
        hook.Stop();
        var agent = (WandbLaunchAgent)Assert.Single(shell.Ok("Get-WandbLaunchAgent cmdlet-*")).BaseObject;
        Assert.Equal(
            (AgentState.Stopped, 0, 2, 2, 0),
            (agent.State, agent.ExitCode!.Value, agent.Taken!.Value, agent.Succeeded!.Value, agent.Failed!.Value)
        );
        shell.Fails("Get-WandbLaunchAgent nobody", "AgentNotFound");
        shell.Fails("Stop-WandbLaunchAgent nobody", "AgentNotFound");
        shell.Fails("Start-WandbLaunchAgent -Queue nope", "QueueNotFound");

        // One that waits is stopped from another shell; its pipeline ends by itself.
        using var runner = new Shell();
        using var running = runner.New("Start-WandbLaunchAgent -Queue agentq -Name waiting-agent; $LASTEXITCODE");
        var work = running.BeginInvoke();
        for (var i = 0; shell.Run("Get-WandbLaunchAgent waiting-agent -State polling").Count == 0; i++)
        {
            Assert.True(i < 300);
            await Task.Delay(50);
        }

        Assert.Empty(shell.Ok("Stop-WandbLaunchAgent waiting-agent -WhatIf"));
        Assert.Equal(
            AgentState.Stopped,
            (
                (WandbLaunchAgent)
                    Assert
                        .Single(shell.Ok("Get-WandbLaunchAgent waiting-agent | Stop-WandbLaunchAgent -Drain -PassThru"))
                        .BaseObject
            ).State
        );
        Assert.Equal(LaunchAgent.ExitStopped, running.EndInvoke(work)[^1].BaseObject);

        // Ctrl+C: the pipeline stops, and the agent says goodbye.
        using var interrupted = runner.New("Start-WandbLaunchAgent -Queue agentq -Name interrupted-agent");
        interrupted.BeginInvoke();
        for (var i = 0; shell.Run("Get-WandbLaunchAgent interrupted-agent -State polling").Count == 0; i++)
        {
            Assert.True(i < 300);
            await Task.Delay(50);
        }

        interrupted.Stop();
        Assert.Equal(
            AgentState.Stopped,
            ((WandbLaunchAgent)Assert.Single(shell.Ok("Get-WandbLaunchAgent interrupted-agent")).BaseObject).State
        );
    }
}
