using System.Runtime.Versioning;
using WandbLaunch.Foundation;

namespace WandbLaunch.Agents;

/// <summary>The Task Scheduler by its own interface: the password of an account is on no command line.</summary>
[SupportedOSPlatform("windows")]
internal static class TaskSchedulerInterface
{
    private const int CreateOrUpdate = 6;

    internal static void Register(string path, string xml, string? account, string? password, bool atStart)
    {
        var task = Call(
            Folder(),
            "RegisterTask",
            path,
            xml[(xml.IndexOf('\n', StringComparison.Ordinal) + 1)..],
            CreateOrUpdate,
            account,
            password,
            TaskLogon.Type(account, password is not null, atStart),
            null
        );
        Call(task!, "Run", new object?[] { null });
    }

    internal static void Delete(string path) => Call(Folder(), "DeleteTask", path, 0);

    internal static bool Exists(string path)
    {
        try
        {
            return Call(Folder(), "GetTask", path) is not null;
        }
        catch (LaunchException)
        {
            return false;
        }
    }

    private static object Folder()
    {
        var service = Activator.CreateInstance(Type.GetTypeFromProgID("Schedule.Service", true)!)!;
        Call(service, "Connect");
        return Call(service, "GetFolder", "\\")!;
    }

    private static object? Call(object target, string method, params object?[] arguments)
    {
        try
        {
            return target
                .GetType()
                .InvokeMember(
                    method,
                    System.Reflection.BindingFlags.InvokeMethod,
                    null,
                    target,
                    arguments,
                    System.Globalization.CultureInfo.InvariantCulture
                );
        }
        catch (System.Reflection.TargetInvocationException e)
        {
            throw new LaunchException(
                "TaskSchedulerFailed",
                LaunchErrorCategory.InvalidOperation,
                $"The Task Scheduler refused: {e.InnerException?.Message.Trim() ?? e.Message} (Does it need an elevated shell?)",
                target.ToString(),
                e
            );
        }
    }
}
