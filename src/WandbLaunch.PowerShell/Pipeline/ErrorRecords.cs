using System.Management.Automation;
using WandbLaunch.Foundation;

namespace WandbLaunch.PowerShell;

/// <summary>Exceptions as PowerShell's errors: a stable id, a category, and what it happened to.</summary>
internal static class ErrorRecords
{
    /// <summary>The record of an exception; its own target wins over the given one.</summary>
    internal static ErrorRecord Of(Exception exception, object? target)
    {
        if (exception is LaunchException launch)
        {
            return new ErrorRecord(
                launch,
                launch.ErrorId,
                Enum.TryParse<ErrorCategory>(launch.Category.ToString(), out var category)
                    ? category
                    : ErrorCategory.NotSpecified,
                launch.Target ?? target
            );
        }

        var (id, kind) = exception switch
        {
            UnauthorizedAccessException => ("AccessDenied", ErrorCategory.PermissionDenied),
            IOException => ("FileFailed", ErrorCategory.WriteError),
            HttpRequestException => ("ConnectionFailed", ErrorCategory.ConnectionError),
            TimeoutException => ("Timeout", ErrorCategory.OperationTimeout),
            _ => ("Unexpected", ErrorCategory.NotSpecified),
        };
        return new ErrorRecord(
            new LaunchException(id, LaunchErrorCategory.InvalidOperation, exception.Message, target, exception),
            id,
            kind,
            target
        );
    }
}
